from pathlib import Path

from celery import Celery
from flask import Flask

MAIL, RESULTS = Path.home() / "data/mail", Path.home() / "data/results"
for directory in (MAIL, RESULTS):
    directory.mkdir(parents=True, exist_ok=True)

queue = Celery("app", broker="filesystem://", backend=RESULTS.as_uri())
queue.conf.broker_transport_options = {"data_folder_in": str(MAIL), "data_folder_out": str(MAIL)}
app = Flask(__name__)


@queue.task
def twice(number):
    return 2 * number


@app.get("/ask/<int:number>")
def ask(number):
    return twice.delay(number).id


@app.get("/answer/<id>")
def answer(id):
    result = queue.AsyncResult(id)
    return str(result.result) if result.ready() else "not yet"

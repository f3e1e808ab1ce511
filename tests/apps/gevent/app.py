from flask import Flask
from gevent import monkey

app = Flask(__name__)


@app.get("/")
def index():
    return "patched" if monkey.is_module_patched("socket") else "not patched"

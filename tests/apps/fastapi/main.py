from fastapi import FastAPI

app = FastAPI()


@app.get("/items/{number}")
async def item(number: int):
    return {"twice": 2 * number}

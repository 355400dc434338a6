"""FastAPI behind uvicorn: no batching; a `def` endpoint runs in FastAPI's own pool of threads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from classifier import Classifier
from fastapi import FastAPI
from pydantic import BaseModel

models: dict[str, Classifier] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model when the server starts."""
    models["spam"] = Classifier()
    yield
    models.clear()


class Message(BaseModel):
    """A request."""

    text: str


class Prediction(BaseModel):
    """An answer."""

    label: str
    score: float


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
def predict(message: Message) -> Prediction:
    """One text's label."""
    return Prediction(**models["spam"]([message.text])[0])

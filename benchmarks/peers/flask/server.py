"""Flask behind gunicorn, as its documentation deploys it: no batching, and texts padded to one fixed length.

`maxlen=100` is what tutorials of Keras with Flask do. gunicorn's threads keep connections alive, its sync workers do
not.
"""

from classifier import Classifier
from flask import Flask, Response, jsonify, request

app = Flask(__name__)
classifier = Classifier(max_length=100, pad_to_max_length=True)


@app.post("/predict")
def predict() -> Response:
    """One text's label."""
    return jsonify(classifier([request.get_json()["text"]])[0])

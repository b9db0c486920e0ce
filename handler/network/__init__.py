"""The BiLSTM-CRF: model, training's CRF, features, fast inference and decoding."""

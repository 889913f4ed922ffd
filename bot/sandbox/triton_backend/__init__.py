"""The backend that lets packages of ``backend: "onnxruntime"`` run where Triton has the Python backend only."""

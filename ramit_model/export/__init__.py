"""Networks as files for other programs: ONNX, and packages of torch.export."""

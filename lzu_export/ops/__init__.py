"""The `lzu` operator set, one file an operator: torch operator, ONNX schema, ONNX function body."""

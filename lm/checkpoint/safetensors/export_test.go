package safetensors

// Round rounds values as WriteRows does.
func Round(d DType, values []float32) []byte { return AppendFloats(nil, d, values) }

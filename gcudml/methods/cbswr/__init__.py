"""CBSwR: deep clustering, a decoder and a centre-based softmax."""

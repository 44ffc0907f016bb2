"""Members that write: their next tokens, drawn answers, votes on answers, and judges."""

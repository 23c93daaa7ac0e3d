DECODERS: dict = {"postgres":1,"redis":1,"http":1}

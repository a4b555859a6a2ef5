VALUE = "a value"

def fail(n):
    if n:
        fail(n - 1)
    else:
        raise ValueError("deep")

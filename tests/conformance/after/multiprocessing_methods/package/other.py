def f(x):
    return __name__, x

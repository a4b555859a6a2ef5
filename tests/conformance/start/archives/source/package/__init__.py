def data():
    from . import part
    return part.VALUE

x = 1
def unused():
    pass

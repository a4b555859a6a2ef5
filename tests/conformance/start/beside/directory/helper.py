print(__name__, 'in', __file__)

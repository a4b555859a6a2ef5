import sys
from package import other

if __name__ == "__main__":
    import multiprocessing as m
    with m.get_context(sys.argv[1]).Pool(1) as pool:
        print(pool.map(other.f, [1]))

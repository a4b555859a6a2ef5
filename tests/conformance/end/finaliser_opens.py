#: A finaliser at the end may open files, which Python 3.9 cannot write to if nobody has imported the encoding.
#: since: 3.10
class A:
    def __init__(self, n): self.n, self.open = n, open
    def __del__(self):
        with self.open(self.n, "w") as file:
            file.write("written")
a = A("a.txt")
b = A("b.txt")
b.me = b

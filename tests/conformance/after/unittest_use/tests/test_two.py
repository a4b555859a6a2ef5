import unittest
class Two(unittest.TestCase):
    def test_two(self): self.assertIn("tests", __name__)

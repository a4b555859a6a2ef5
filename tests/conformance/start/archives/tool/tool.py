import json, sys
def run():
    print(json.dumps([__file__]), sys.argv)
    sys.exit(4)

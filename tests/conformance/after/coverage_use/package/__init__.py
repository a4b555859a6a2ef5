import package.beside

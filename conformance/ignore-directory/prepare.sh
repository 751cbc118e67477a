chmod 711 folder1

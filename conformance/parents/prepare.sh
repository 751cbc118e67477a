chmod 711 a

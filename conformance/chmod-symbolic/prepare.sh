chmod 600 d/f; chmod 711 d/x; chmod 666 d/s/w; chmod 700 d/s; chmod 770 d

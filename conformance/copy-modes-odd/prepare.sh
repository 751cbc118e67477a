chmod 0 d/a; chmod 4755 d/s; chmod 1777 d/t; chmod 2644 d/t/u; chmod 700 n; chmod 0711 d

cd d
chown 12:34 own
chmod 4711 suid
chmod 6000 odd
chmod 1777 sub
mkfifo -m 640 pipe
ln -s own soft
touch -d @1234567890 own

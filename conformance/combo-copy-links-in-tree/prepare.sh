cd t
ln -s d/f ln
ln -s d dl
ln -s ../e d/up
ln -s none lost

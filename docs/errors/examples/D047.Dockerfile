# written by J�rgen
FROM scratch

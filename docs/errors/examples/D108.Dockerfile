FROM scratch AS builder
FROM Bilder

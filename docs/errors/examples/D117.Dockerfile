FROM scratch
COPY [a /

FROM scratch
HEALTHCHECK curl -f http://localhost/

FROM scratch
USER "me

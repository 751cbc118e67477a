FROM scratch
HEALTHCHECK --retries=1 NONE

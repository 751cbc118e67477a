FROM scratch AS one
COPY --from=one /a /b

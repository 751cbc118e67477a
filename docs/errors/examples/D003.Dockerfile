RUN make
FROM scratch

FROM scratch
ENV A=${VERSION^}

// syntax=example/frontend
FROM scratch

FROM scratch
LABEL =value

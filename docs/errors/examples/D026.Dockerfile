FROM scratch
COPY <<EOF /file
text

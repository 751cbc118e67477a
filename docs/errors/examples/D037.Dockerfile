FROM scratch
ARG STAGE
RUN --mount=from=$STAGE,target=/m true

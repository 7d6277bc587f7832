FROM alpine
RUN echo 0 > /0
FROM alpine
COPY --from=0 /0 /0
FROM scratch
COPY --from=1 /0 /one

FROM alpine:3.22
LABEL org.opencontainers.image.title="Example" \
      org.opencontainers.image.description="An image with \"quoted\" text" \
      org.opencontainers.image.version='1.2.3' \
      com.example.empty=""
LABEL "com.example.key with spaces"="value"
LABEL multi.label1="value1" multi.label2="value2" other=value3

# A leading comment
FROM alpine

# about the packages
RUN apk add --no-cache \
    # compilers
    gcc \
    g++ \

    # tools
    make \
    && true

# trailing

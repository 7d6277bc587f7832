FROM alpine
LABEL maintainer="Zoë Müller <zoë@example.com>" title="日本語"
ENV GREETING="Grüße, 世界 🌍"
RUN echo "¡Hola!" > /saludo.txt
COPY ficheros/ñ.txt /ñ/

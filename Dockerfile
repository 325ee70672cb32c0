# The server. For CUDA, add --gpus all to docker run: the torch wheels bring their own CUDA libraries.
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --constraint constraints.txt ".[serve]"

FROM python:3.11-slim
RUN useradd --create-home --uid 1000 lyrics && mkdir /data && chown lyrics /data
COPY --from=build /venv /venv
USER lyrics
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["/venv/bin/lyrics-asr"]
CMD ["serve", "--host", "0.0.0.0", "--api-key-file", "/keys", "--model", "embedded", "--data", "/data"]

FROM scratch
COPY plugin.wasm ./

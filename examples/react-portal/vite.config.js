import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'
import { usageToken } from './server/usage-token.js'

const port = Number(process.env.PORT ?? 5173)

// The example is one process: Vite serves the page and the only route of the backend.
export default defineConfig({
  plugins: [react(), { name: 'backend', configureServer: ({ middlewares }) => void middlewares.use('/usage-token', usageToken) }],
  server: { host: '127.0.0.1', port, strictPort: true },
})

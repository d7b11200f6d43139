// Runs functions of the page's modules under Node. Usage: node modules.mjs VITE SOURCES OUT
// It reads a line of JSON for each question, {"module": name, "calls": [[function, ...arguments]]}, and answers with a
// line of JSON: {"returned": [value of each call]} or {"error": text}. A module is built when it is asked for first.
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const [vite, sources, out] = process.argv.slice(2)
const { build } = await import(pathToFileURL(vite))
const modules = new Map()

async function built(name) {
  const lib = { entry: join(sources, `${name}.ts`), formats: ['es'], fileName: () => `${name}.mjs` }
  await build({ root: sources, configFile: false, logLevel: 'error', build: { outDir: out, emptyOutDir: false, lib } })
  return import(pathToFileURL(join(out, `${name}.mjs`)))
}

async function answer({ module, calls }) {
  if (!modules.has(module)) modules.set(module, await built(module))
  return calls.map(([called, ...given]) => modules.get(module)[called](...given))
}

for await (const line of createInterface({ input: process.stdin })) {
  const said = await answer(JSON.parse(line)).then((returned) => ({ returned }), (error) => ({ error: error.stack }))
  console.log(JSON.stringify(said))
}

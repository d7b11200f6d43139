// Runs functions of a module of the page under Node. Usage: node modules.mjs VITE SOURCES MODULE OUT < calls.json
// calls.json: [[function, ...arguments]]. Prints the list of the returned values.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [vite, sources, name, out] = process.argv.slice(2)
const { build } = await import(pathToFileURL(vite))
const lib = { entry: join(sources, `${name}.ts`), formats: ['es'], fileName: () => `${name}.mjs` }
await build({ root: sources, configFile: false, logLevel: 'error', build: { outDir: out, emptyOutDir: false, lib } })
const module = await import(pathToFileURL(join(out, `${name}.mjs`)))
const calls = JSON.parse(readFileSync(0, 'utf8'))
console.log(JSON.stringify(calls.map(([called, ...given]) => module[called](...given))))

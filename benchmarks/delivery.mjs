// Remotion's own package behind the same lines as delivery_worker.py: `node delivery.mjs PATH-OF-ITS-MODULE`.
// The package has one host; `fetch` is led to the stub instead, and to nothing else.
import {createInterface} from 'node:readline';

const HOST = 'https://www.remotion.pro';
const STUB = /^http:\/\/127\.0\.0\.1:\d+$/;
const send = globalThis.fetch;
let stub = '';
globalThis.fetch = (url, options) => {
	if (!STUB.test(stub) || !url.startsWith(`${HOST}/`)) {
		throw new Error(`no request leaves this machine: ${url}`);
	}

	return send(stub + url.slice(HOST.length), options);
};

const {registerUsageEvent} = await import(process.argv[2]);

const deliver = async (connections, points) => {
	let left = points;
	let delivered = 0;
	const one = async () => {
		while (left-- > 0) {
			const {billable} = await registerUsageEvent({
				event: 'cloud-render',
				host: 'https://myapp.com',
				succeeded: true,
				licenseKey: 'rm_pub_bench',
				isStill: false,
				isProduction: true,
			});
			delivered += billable ? 1 : 0;
		}
	};

	await Promise.all(Array.from({length: connections}, one));
	return delivered;
};

for await (const line of createInterface({input: process.stdin})) {
	const [url, connections, points] = line.split(' ');
	stub = url;
	const cpu = process.cpuUsage();
	const start = process.hrtime.bigint();
	const delivered = await deliver(Number(connections), Number(points));
	const seconds = Number(process.hrtime.bigint() - start) / 1e9;
	const {user, system} = process.cpuUsage(cpu);
	console.log(JSON.stringify({seconds, cpu: (user + system) / 1e6, points: delivered}));
}

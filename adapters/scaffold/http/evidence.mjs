// Looking at records of the product's own codes: the capability 'evidence'. Here a record is a text and its HMAC; let it ask
// your product. To offer it, name 'evidence' in the manifest's capabilities, put `...evidence.calls` into `calls`, and
// `record: evidence.genuine` into the manifest's `test`.
//
// Two rules: "genuine" and "refused" are final, and whatever cannot be said is "unknown", on which nobody is refused.

import crypto from 'node:crypto';
import { Problem } from './problem.mjs';

const key = crypto.randomBytes(32);
const mac = (text) => crypto.createHmac('sha256', key).update(text).digest('hex');

/** A genuine record, in base64, for the kit. */
export const genuine = Buffer.from(`ride of rider-1|${mac('ride of rider-1')}`).toString('base64');

export const calls = {
  '/v1/evidence': ({ record }) => {
    const bytes = Buffer.from(record ?? '', 'base64');
    if (bytes.length < 1 || bytes.length > 2048) throw new Problem(400, 'not_performed', 'a record has 1 to 2048 bytes');
    const [text, proof] = bytes.toString('latin1').split('|');
    return {
      record_sha256: crypto.createHash('sha256').update(bytes).digest('hex'), // says which record the verdict is on
      ...(proof === mac(text) ? { verdict: 'genuine' } : { verdict: 'refused', reason: 'no_such_ride' }),
    };
  },
};

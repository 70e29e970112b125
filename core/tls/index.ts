export { LoadedTls } from "./agent-tls.js";
export {
  type CertificateIdentity,
  identities,
  identityOf,
  subjectOf,
  whyUntrusted,
} from "./certificate-names.js";

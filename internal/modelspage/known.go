package modelspage

// knownCheckpoint is a public checkpoint of a family.
type knownCheckpoint struct {
	name     string
	billions float64 // of parameters, about
	note     string
}

// knownCheckpoints are the ones that most people mean by a family, by model type.
var knownCheckpoints = map[string][]knownCheckpoint{
	"apertus":          {{"swiss-ai/Apertus-8B-Instruct-2509", 8, ""}},
	"arcee":            {{"arcee-ai/AFM-4.5B", 4.6, ""}},
	"biogpt":           {{"microsoft/biogpt", 0.35, ""}},
	"bloom":            {{"bigscience/bloom-560m", 0.56, ""}, {"bigscience/bloom-7b1", 7.1, ""}},
	"codegen":          {{"Salesforce/codegen-350M-mono", 0.36, ""}},
	"cohere":           {{"CohereLabs/c4ai-command-r-v01", 35, ""}},
	"cohere2":          {{"CohereLabs/c4ai-command-r7b-12-2024", 8, ""}},
	"dbrx":             {{"databricks/dbrx-instruct", 132, ""}},
	"deepseek_v2":      {{"deepseek-ai/DeepSeek-V2-Lite", 15.7, ""}},
	"deepseek_v3":      {{"moonshotai/Moonlight-16B-A3B", 16, ""}, {"deepseek-ai/DeepSeek-V3", 671, "its weights are stored in FP8, which is not read"}},
	"diffllama":        {{"kajuma/DiffLlama-0.3B-handcut", 0.3, ""}},
	"dots1":            {{"rednote-hilab/dots.llm1.inst", 142, ""}},
	"ernie4_5":         {{"baidu/ERNIE-4.5-0.3B-PT", 0.36, ""}},
	"ernie4_5_moe":     {{"baidu/ERNIE-4.5-21B-A3B-PT", 21, ""}},
	"exaone4":          {{"LGAI-EXAONE/EXAONE-4.0-1.2B", 1.3, ""}, {"LGAI-EXAONE/EXAONE-4.0-32B", 32, ""}},
	"falcon":           {{"tiiuae/falcon-7b", 7, ""}, {"tiiuae/falcon-rw-1b", 1.3, ""}},
	"falcon_h1":        {{"tiiuae/Falcon-H1-0.5B-Instruct", 0.52, ""}, {"tiiuae/Falcon-H1-7B-Instruct", 7.6, ""}},
	"flex_olmo":        {{"allenai/FlexOlmo-7x7B-1T", 33, ""}},
	"gemma":            {{"google/gemma-2b", 2.5, ""}, {"google/gemma-7b", 8.5, ""}},
	"gemma2":           {{"google/gemma-2-2b-it", 2.6, ""}, {"google/gemma-2-9b-it", 9.2, ""}},
	"gemma3_text":      {{"google/gemma-3-270m", 0.27, ""}, {"google/gemma-3-1b-it", 1, ""}, {"google/gemma-3-4b-it", 3.9, "the text model"}},
	"gemma3n_text":     {{"google/gemma-3n-E2B-it", 4.5, "the text model"}, {"google/gemma-3n-E4B-it", 6.9, "the text model"}},
	"glm":              {{"zai-org/glm-4-9b-chat-hf", 9.4, ""}},
	"glm4":             {{"zai-org/GLM-4-9B-0414", 9.4, ""}},
	"glm4_moe":         {{"zai-org/GLM-4.5-Air", 106, ""}},
	"gpt2":             {{"openai-community/gpt2", 0.12, ""}, {"openai-community/gpt2-xl", 1.6, ""}},
	"gpt_bigcode":      {{"bigcode/starcoder", 15.5, ""}},
	"gpt_neo":          {{"EleutherAI/gpt-neo-125m", 0.13, ""}, {"EleutherAI/gpt-neo-2.7B", 2.7, ""}},
	"gpt_neox":         {{"EleutherAI/pythia-70m", 0.07, ""}, {"EleutherAI/pythia-6.9b", 6.9, ""}, {"EleutherAI/gpt-neox-20b", 20.6, ""}},
	"gpt_oss":          {{"openai/gpt-oss-20b", 20.9, "its experts are stored in MXFP4, which is multiplied as it is"}},
	"gptj":             {{"EleutherAI/gpt-j-6b", 6.1, ""}},
	"granite":          {{"ibm-granite/granite-3.3-2b-instruct", 2.5, ""}, {"ibm-granite/granite-3.3-8b-instruct", 8.2, ""}},
	"granitemoe":       {{"ibm-granite/granite-3.1-1b-a400m-instruct", 1.3, ""}},
	"granitemoehybrid": {{"ibm-granite/granite-4.0-350m", 0.35, "no state: attention alone"}, {"ibm-granite/granite-4.0-h-1b", 1.5, ""}, {"ibm-granite/granite-4.0-h-tiny", 7, ""}},
	"granitemoeshared": {{"ibm-research/moe-7b-1b-active-shared-experts", 7, ""}},
	"helium":           {{"kyutai/helium-1-2b", 2, ""}},
	"hunyuan_v1_dense": {{"tencent/Hunyuan-0.5B-Instruct", 0.5, ""}, {"tencent/Hunyuan-7B-Instruct", 7.5, ""}},
	"hunyuan_v1_moe":   {{"tencent/Hunyuan-A13B-Instruct", 80, ""}},
	"jetmoe":           {{"jetmoe/jetmoe-8b", 8.5, ""}},
	"lfm2":             {{"LiquidAI/LFM2-350M", 0.35, ""}, {"LiquidAI/LFM2-1.2B", 1.2, ""}, {"LiquidAI/LFM2-2.6B", 2.6, ""}},
	"llama":            {{"HuggingFaceTB/SmolLM2-135M", 0.14, ""}, {"meta-llama/Llama-3.2-1B", 1.2, ""}, {"meta-llama/Llama-3.1-8B-Instruct", 8, ""}},
	"llama4_text":      {{"meta-llama/Llama-4-Scout-17B-16E-Instruct", 109, "the text model"}},
	"longcat_flash":    {{"meituan-longcat/LongCat-Flash-Chat", 562, ""}},
	"minimax":          {{"MiniMaxAI/MiniMax-Text-01-hf", 456, ""}},
	"mistral":          {{"mistralai/Mistral-7B-Instruct-v0.3", 7.2, ""}, {"mistralai/Mistral-Nemo-Instruct-2407", 12.2, ""}},
	"mixtral":          {{"mistralai/Mixtral-8x7B-Instruct-v0.1", 46.7, ""}},
	"mpt":              {{"mosaicml/mpt-7b", 6.6, ""}},
	"nemotron":         {{"nvidia/Minitron-4B-Base", 4.2, ""}},
	"olmo":             {{"allenai/OLMo-1B-hf", 1.2, ""}, {"allenai/OLMo-7B-hf", 6.9, ""}},
	"olmo2":            {{"allenai/OLMo-2-0425-1B", 1.5, ""}, {"allenai/OLMo-2-1124-7B", 7.3, ""}},
	"olmo3":            {{"allenai/Olmo-3-7B-Instruct", 7.3, ""}},
	"olmoe":            {{"allenai/OLMoE-1B-7B-0924", 6.9, ""}},
	"opt":              {{"facebook/opt-125m", 0.13, ""}, {"facebook/opt-6.7b", 6.7, ""}},
	"persimmon":        {{"adept/persimmon-8b-chat", 9.4, ""}},
	"phi":              {{"microsoft/phi-1_5", 1.4, ""}, {"microsoft/phi-2", 2.8, ""}},
	"phi3":             {{"microsoft/Phi-3-mini-4k-instruct", 3.8, ""}, {"microsoft/phi-4", 14.7, ""}},
	"phimoe":           {{"microsoft/Phi-3.5-MoE-instruct", 41.9, ""}},
	"qwen2":            {{"Qwen/Qwen2.5-0.5B-Instruct", 0.5, ""}, {"Qwen/Qwen2.5-7B-Instruct", 7.6, ""}},
	"qwen2_moe":        {{"Qwen/Qwen1.5-MoE-A2.7B", 14.3, ""}},
	"qwen3":            {{"Qwen/Qwen3-0.6B", 0.6, ""}, {"Qwen/Qwen3-8B", 8.2, ""}},
	"qwen3_moe":        {{"Qwen/Qwen3-30B-A3B", 30.5, ""}},
	"qwen3_next":       {{"Qwen/Qwen3-Next-80B-A3B-Instruct", 81, ""}},
	"seed_oss":         {{"ByteDance-Seed/Seed-OSS-36B-Instruct", 36, ""}},
	"smollm3":          {{"HuggingFaceTB/SmolLM3-3B", 3.1, ""}},
	"stablelm":         {{"stabilityai/stablelm-2-1_6b", 1.6, ""}, {"stabilityai/stablelm-3b-4e1t", 2.8, ""}},
	"starcoder2":       {{"bigcode/starcoder2-3b", 3, ""}},
	"vaultgemma":       {{"google/vaultgemma-1b", 1, ""}},
	"xglm":             {{"facebook/xglm-564M", 0.56, ""}},
}

// memory returns the gigabytes of the smallest usual machine that holds the
// weights in bfloat16, with a fifth of it left for everything else.
func (k knownCheckpoint) memory() int {
	gigabytes := 1
	for float64(gigabytes)*0.8 < 2*k.billions {
		gigabytes *= 2
	}
	return gigabytes
}
